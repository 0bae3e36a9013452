"""Layouts that people bring, as Kaggle, torchvision, the hub, Roboflow, StyleGAN and telephones make them.

The table in docs/folders.md has a row for each.
"""

import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from distgan.data.make import request_of
from distgan.data.prepare import prepare
from distgan.data.survey import survey
from distgan.utils.errors import DataError
from distgan.utils.log import show_on_terminal
from tests.support.image_files import noise, put


@pytest.fixture
def tree(tmp_path):
    """Makes files below a directory: images by their endings, other text as it is given."""

    def make(*images, **texts):
        for number, name in enumerate(images):
            put(tmp_path / "set" / name, noise(10, 8, 3, seed=number))
        for name, text in texts.items():
            path = tmp_path / "set" / name.replace("__", "/").replace("_dot_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path / "set"

    return make


def found(path, split="train", source="folder", **options):
    """{class: number of images}"""
    given = {"directory": path} if source == "folder" else {"archive": path}
    return survey(request_of(source, "OUT", {**given, "split": split, **options}), progress=False).counts


def test_celeba_is_a_flat_folder_in_a_folder_of_its_name(tree):
    root = tree("img_align_celeba/img_align_celeba/000001.jpg", "img_align_celeba/img_align_celeba/000002.jpg",
                list_attr_celeba_dot_csv="image_id,5_o_Clock_Shadow\n000001.jpg,-1\n000002.jpg,1\n")  # fmt: skip
    assert found(root) == {"img_align_celeba": 2}
    assert found(root, no_classes=True) == {"images": 2}
    assert found(root, labels="list_attr_celeba.csv", label_column="5_o_Clock_Shadow") == {"-1": 1, "1": 1}


def test_ffhq_lies_in_numbered_parts(tree):
    assert found(tree("00000/00000.png", "00000/00001.png", "01000/01000.png", "69000/69000.png")) == {"images": 4}


def test_afhq_has_class_folders_in_train_and_val(tree):
    root = tree("afhq/train/cat/1.jpg", "afhq/train/dog/1.jpg", "afhq/train/wild/1.jpg", "afhq/val/cat/2.jpg",
                "afhq/val/dog/2.jpg", "afhq/val/wild/2.jpg")  # fmt: skip
    assert found(root) == found(root, "val") == {"cat": 1, "dog": 1, "wild": 1}


def test_kaggles_cifar10_has_a_table_beside_its_flat_splits(tree):
    root = tree("train/1.png", "train/2.png", "train/3.png", "test/1.png",
                trainLabels_dot_csv="id,label\n1,frog\n2,truck\n3,frog\n",
                sampleSubmission_dot_csv="id,label\n1,cat\n")  # fmt: skip
    assert found(root) == {"frog": 2, "truck": 1}
    assert found(root, "test") == {"images": 1}


def test_kaggles_dog_breeds_have_a_table_of_another_column(tree):
    root = tree("train/a01.jpg", "train/a02.jpg", labels_dot_csv="id,breed\na01,boston_bull\na02,dingo\n")
    assert found(root) == {"boston_bull": 1, "dingo": 1}


def test_kaggles_cats_and_dogs_and_oxfords_pets_have_their_classes_in_the_names(tree):
    root = tree("train/cat.0.jpg", "train/cat.1.jpg", "train/dog.0.jpg")
    assert found(root) == {"images": 3}
    assert found(root, label_pattern=r"([a-z]+)\.[0-9]") == {"cat": 2, "dog": 1}


def test_oxfords_pets_have_masks_beside_them(tree):
    root = tree("images/Abyssinian_1.jpg", "images/Abyssinian_2.jpg", "images/great_dane_1.jpg",
                "annotations/trimaps/Abyssinian_1.png")  # fmt: skip
    assert found(root) == {"images": 3}
    assert found(root, label_pattern="(.+)_[0-9]+") == {"Abyssinian": 2, "great_dane": 1}


def test_torchvisions_image_folder_with_a_readme(tree):
    root = tree("n01440764/1.JPEG", "n01443537/2.JPEG", README_dot_md="hello")
    assert found(root) == {"n01440764": 1, "n01443537": 1}


def test_an_imagefolder_of_the_hub_has_metadata(tree):
    lines = [{"file_name": f"{i}.png", "label": label} for i, label in enumerate(("cat", "dog", "cat"))]
    root = tree("train/0.png", "train/1.png", "train/2.png",
                train__metadata_dot_jsonl="\n".join(map(json.dumps, lines)))  # fmt: skip
    assert found(root) == {"cat": 2, "dog": 1}


def test_captions_are_no_classes(tree):
    rows = "".join(f"{i}.png,a photo of number {i}\n" for i in range(20))
    root = tree(*(f"{i}.png" for i in range(20)), metadata_dot_csv=f"file_name,text\n{rows}")
    assert found(root) == {"images": 20}
    with pytest.raises(DataError, match="has no column txt; nearest: text; there are text"):
        found(root, label_column="txt")


def test_roboflows_classification_folders(tree):
    root = tree("train/daisy/1.jpg", "train/rose/1.jpg", "valid/daisy/2.jpg", "valid/rose/2.jpg", "test/daisy/3.jpg",
                "test/rose/3.jpg", README_dot_roboflow_dot_txt="hello")  # fmt: skip
    assert found(root, "val") == {"daisy": 1, "rose": 1}


def test_roboflows_table_of_zeros_and_ones(tree):
    table = "filename, daisy, rose\n1.jpg, 1, 0\n2.jpg, 0, 1\n3.jpg, 1, 1\n4.jpg, 0, 0\n"
    root = tree("train/1.jpg", "train/2.jpg", "train/3.jpg", "train/4.jpg", "valid/1.jpg",
                train___classes_dot_csv=table)  # fmt: skip
    assert found(root) == {"daisy": 1, "rose": 1}


def test_roboflows_boxes_give_a_class_where_an_image_has_one(tree):
    table = ("filename,width,height,class,xmin,ymin,xmax,ymax\n1.jpg,8,8,car,0,0,1,1\n1.jpg,8,8,car,2,2,3,3\n"
             "2.jpg,8,8,bus,0,0,1,1\n3.jpg,8,8,car,0,0,1,1\n3.jpg,8,8,bus,0,0,1,1\n")  # fmt: skip
    root = tree("train/1.jpg", "train/2.jpg", "train/3.jpg", train___annotations_dot_csv=table)
    assert found(root) == {"bus": 1, "car": 1}


def test_yolos_folders_hold_no_classes(tree):
    root = tree("images/train/1.jpg", "images/train/2.jpg", "images/val/3.jpg", labels__train__1_dot_txt="0 .5 .5 1 1",
                labels__val__3_dot_txt="0 .5 .5 1 1", data_dot_yaml="names: [car]")  # fmt: skip
    assert (found(root), found(root, "val")) == ({"images": 2}, {"images": 1})


def test_roboflows_yolo_export_has_images_and_labels_in_each_split(tree):
    root = tree("train/images/1.jpg", "train/images/2.jpg", "valid/images/3.jpg", train__labels__1_dot_txt="0",
                valid__labels__3_dot_txt="0", data_dot_yaml="names: [car]")  # fmt: skip
    assert (found(root), found(root, "val")) == ({"images": 2}, {"images": 1})


def test_coco_has_a_folder_per_split_and_year(tree):
    root = tree("train2017/1.jpg", "train2017/2.jpg", "val2017/3.jpg", annotations__captions_dot_json="{}")
    assert (found(root), found(root, "val")) == ({"images": 2}, {"images": 1})


def test_pascal_voc_has_masks_beside_them(tree):
    root = tree("VOC2012/JPEGImages/1.jpg", "VOC2012/JPEGImages/2.jpg", "VOC2012/SegmentationClass/1.png",
                "VOC2012/SegmentationObject/1.png", VOC2012__Annotations__1_dot_xml="<x/>")  # fmt: skip
    assert found(root) == {"images": 2}


def test_food_101_has_lists_beside_its_classes(tree):
    root = tree("food-101/images/apple_pie/1.jpg", "food-101/images/waffles/2.jpg", food_dot_txt="x")
    (root / "food-101" / "meta").mkdir()
    (root / "food-101" / "meta" / "classes.txt").write_text("apple_pie")
    assert found(root) == {"apple_pie": 1, "waffles": 1}


def test_tiny_imagenet_has_images_in_each_class_and_none_in_val(tree):
    root = tree("train/n01/images/1.JPEG", "train/n02/images/2.JPEG", "val/images/3.JPEG", "test/images/4.JPEG")
    assert (found(root), found(root, "val")) == ({"n01": 1, "n02": 1}, {"images": 1})


def test_german_signs_have_one_more_folder_of_images_and_the_way_is_shown(tree):
    root = tree("Train/0/1.png", "Train/1/2.png", "Test/3.png", "Meta/0.png")
    with pytest.raises(DataError, match="look like splits beside classes; .*give one folder in the place of"):
        found(root)
    assert found(root / "Train") == {"0": 1, "1": 1}


def test_classes_in_folders_of_variants_are_said_to_be_read_as_one(tree, capsys):
    show_on_terminal()
    root = tree("color/Apple/1.jpg", "grayscale/Apple/1.jpg", "segmented/Apple/1.jpg")
    assert found(root) == {"color": 1, "grayscale": 1, "segmented": 1}
    assert f"the folders in {root} hold folders, such as color/Apple: all below one is of its class" in (
        capsys.readouterr().err
    )
    assert found(root / "color") == {"Apple": 1}


def test_photographs_of_a_telephone_lie_in_dates(tree):
    assert found(tree("2023/05/IMG_1.jpg", "2023/06/IMG_2.jpg", "2024/01/IMG_3.jpg")) == {"images": 3}


def test_a_cameras_card(tree):
    assert found(tree("DCIM/100CANON/IMG_1.jpg", "DCIM/101CANON/IMG_2.jpg")) == {"images": 2}


def test_images_and_a_table_beside_them(tree):
    root = tree("images/a.jpg", "images/b.jpg", labels_dot_csv="image,class,age\na.jpg,red,1\nb.jpg,blue,2\n")
    assert found(root) == {"blue": 1, "red": 1}
    assert found(root, label_column="age") == {"1": 1, "2": 1}


def test_stylegans_folder_and_zip(tree, tmp_path):
    names = [f"00000/img{i:08d}.png" for i in range(3)]
    labels = [[name, number % 2] for number, name in enumerate(names)]
    root = tree(*names, dataset_dot_json=json.dumps({"labels": labels}))
    assert found(root) == {"0": 2, "1": 1}
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in (*names, "dataset.json"):
            archive.write(root / name, name)
    assert found(tmp_path / "a.zip", source="zip") == {"0": 2, "1": 1}


def test_a_zip_that_macos_made(tree, tmp_path):
    root = tree("pets/cat/1.png", "pets/dog/1.png")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("pets/cat/1.png", "pets/dog/1.png"):
            archive.write(root / name, name)
            archive.writestr(f"__MACOSX/{name.replace('1.png', '._1.png')}", b"junk")
        archive.writestr("pets/.DS_Store", b"junk")
    assert found(tmp_path / "a.zip", source="zip") == {"cat": 1, "dog": 1}


def test_classes_that_are_links_to_folders_elsewhere(tree, tmp_path):
    for name in ("cat", "dog"):
        put(tmp_path / "store" / name / "1.png", noise(8, 8, 3))
        (tree() / name).parent.mkdir(exist_ok=True)
        (tree() / name).symlink_to(tmp_path / "store" / name)
    assert found(tree()) == {"cat": 1, "dog": 1}


def test_every_format_in_one_flat_folder(tree, tmp_path):
    root = tree("1.png", "2.jpg", "3.webp", "4.bmp", "5.gif", "6.tif", notes_dot_txt="hello", Makefile="all:")
    put(root / "7.jp2", Image.new("RGB", (20, 20)))
    assert found(root) == {"images": 7}
    manifest = prepare(request_of("folder", tmp_path / "out", {"directory": root, "size": 8}), progress=False)
    assert manifest.count == 7


def test_the_pixels_are_those_that_pillow_decodes(tree):
    root = tree("train/1.png", "train/2.png", trainLabels_dot_csv="id,label\n1,b\n2,a\n")
    offer = request_of("folder", "OUT", {"directory": root, "size": 8}).source.offer("train", None)
    images = offer.load(False)
    pixels = images.read(np.array([0, 1]))
    assert offer.classes == ("a", "b")
    np.testing.assert_array_equal(pixels[0], noise(10, 8, 3, seed=1)[1:9])
